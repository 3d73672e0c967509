//! The processes of a run.
//!
//! Each contender has a *stage*, a process of its own: nothing that one library
//! leaves behind, threads or memory, is met by another. A stage prepares its
//! contender, runs a batch that does not count, writes a line, and then writes
//! the figure of one batch for each line that it reads.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::bench::{Bench, Case, Result};
use crate::{PEER, STAGE};

/// How long a batch may take: longer is a hang.
const LONGEST: Duration = Duration::from_secs(120);

/// Is a stage, until its input ends.
pub(crate) fn run(bench: &Bench, contender: &str, case: Case) -> Result<()> {
    let mut batch = bench.contender(contender)?(case)?;
    batch()?;
    println!("ready");
    for line in std::io::stdin().lines() {
        line?;
        println!("{}", batch()?);
    }
    Ok(())
}

/// A running stage.
#[derive(Debug)]
pub(crate) struct Stage {
    /// What it measures, for errors.
    title: String,
    /// Its process.
    process: Child,
    /// Where it is told to go; `None` when it is to end.
    input: Option<ChildStdin>,
    /// The lines it writes.
    output: Receiver<String>,
}

impl Stage {
    /// Starts a stage and waits until it is ready.
    pub(crate) fn start(bench: &Bench, contender: &str, case: Case) -> Result<Self> {
        let mut process = own_program()
            .args([STAGE, bench.name, contender, &case.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take();
        let lines = BufReader::new(process.stdout.take().ok_or("a stage has no output")?).lines();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            lines.map_while(|line| line.ok()).try_for_each(|line| sender.send(line))
        });
        let title = format!("{} of {} at {case}", contender, bench.name);
        let stage = Self { title, process, input, output };
        stage.line()?;
        Ok(stage)
    }

    /// Runs a batch and returns its figure.
    pub(crate) fn batch(&mut self) -> Result<f64> {
        self.input.as_mut().ok_or("the stage is ending")?.write_all(b"\n")?;
        Ok(self.line()?.parse()?)
    }

    /// The next line of its output.
    fn line(&self) -> Result<String> {
        let line = self.output.recv_timeout(LONGEST);
        Ok(line.map_err(|error| format!("{}: no figure: {error}", self.title))?)
    }

    /// Has it end by itself, as its users would.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.input = None;
        let status = self.process.wait()?;
        if !status.success() {
            return Err(format!("{}: ended with {status}", self.title).into());
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other process of a contender, for those that do not start one by
/// themselves. It ends with this value.
#[derive(Debug)]
pub(crate) struct PeerProcess(Child);

impl PeerProcess {
    /// Starts a peer of a bench with `socket` as its standard input.
    pub(crate) fn start(
        bench: &str,
        peer: &str,
        size: u64,
        word: &str,
        socket: Option<OwnedFd>,
    ) -> Result<Self> {
        let socket = socket.map_or_else(Stdio::null, Stdio::from);
        let size = size.to_string();
        Ok(Self(own_program().args([PEER, bench, peer, &size, word]).stdin(socket).spawn()?))
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program, to be started once more.
pub(crate) fn own_program() -> Command {
    Command::new("/proc/self/exe")
}
