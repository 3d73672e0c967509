//! Processes and connections in a tokio program.
#![cfg(feature = "tokio")]

use std::time::Duration;

use kinfolk::{Connection, Process};

kinfolk::test_init!();

fn echo(connection: Connection<String, String>) -> u32 {
    let mut count = 0;
    while let Ok(text) = connection.recv() {
        connection.send(&text).unwrap();
        count += 1;
    }
    count
}

#[tokio::test]
async fn values_and_results_are_awaited() {
    let _watchdog = kinfolk_testkit::watchdog("values_and_results_are_awaited");
    let (here, there) = kinfolk::pipe().unwrap();
    let process = Process::spawn(echo, there).unwrap();
    let here: kinfolk::AsyncConnection<String, String> = here.into_async().unwrap();
    for n in 0..100 {
        here.send(&n.to_string()).await.unwrap();
        assert_eq!(here.recv().await.unwrap(), n.to_string());
    }
    drop(here);
    assert_eq!(process.join_async().await.unwrap(), 100);
}

#[tokio::test]
async fn a_receiver_that_waits_sees_the_peer_killed() {
    let _watchdog = kinfolk_testkit::watchdog("a_receiver_that_waits_sees_the_peer_killed");
    let (here, there) = kinfolk::pipe::<String, String>().unwrap();
    let process = Process::spawn(echo, there).unwrap();
    let here = here.into_async().unwrap();
    here.send(&"up".to_owned()).await.unwrap();
    assert_eq!(here.recv().await.unwrap(), "up");
    let nothing = tokio::time::timeout(Duration::from_millis(20), here.recv()).await;
    assert!(nothing.is_err(), "nothing was sent");
    process.kill().unwrap();
    assert!(here.recv().await.unwrap_err().is_disconnected());
    assert!(process.join_async().await.is_err());
}

#[tokio::test]
async fn a_sender_that_waits_goes_on_when_there_is_room() {
    let _watchdog = kinfolk_testkit::watchdog("a_sender_that_waits_goes_on_when_there_is_room");
    let (here, there) = kinfolk::pipe::<Vec<u8>, Vec<u8>>().unwrap();
    let reader =
        std::thread::spawn(move || (0..500).map(|_| there.recv().unwrap().len()).sum::<usize>());
    let here = here.into_async().unwrap();
    for _ in 0..500 {
        here.send(&vec![1; 100_000]).await.unwrap();
    }
    assert_eq!(reader.join().unwrap(), 50_000_000);
}
