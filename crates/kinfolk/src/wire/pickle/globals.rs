//! The names of Python that a pickle may use.

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    /// `set` and `frozenset`.
    Set,
    /// `list`, as which a manager of Python sends the views of a dict.
    List,
    /// `slice`.
    Slice,
    /// `bytes` and `bytearray`.
    Bytes,
    /// `_codecs.encode`, as which old protocols have bytes.
    Encode,
    /// `collections.OrderedDict`.
    Dict,
    /// A class of exceptions.
    Exception(Class),
    /// `multiprocessing.managers.Token`.
    Token,
}

/// A class of exceptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class {
    /// Where it is.
    pub(crate) module: &'static str,
    /// Its name there.
    pub(crate) name: &'static str,
}

/// The exceptions of the standard library that calls of a manager's objects raise.
const OTHERS: [Class; 6] = [
    Class { module: "queue", name: "Empty" },
    Class { module: "queue", name: "Full" },
    Class { module: "threading", name: "BrokenBarrierError" },
    Class { module: "multiprocessing.context", name: "TimeoutError" },
    Class { module: "multiprocessing.context", name: "AuthenticationError" },
    Class { module: "multiprocessing.managers", name: "RemoteError" },
];

/// The exceptions that are builtin from some version on.
const BUILTIN: [&str; 67] = [
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BaseException",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "BytesWarning",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "DeprecationWarning",
    "EOFError",
    "EncodingWarning",
    "EnvironmentError",
    "Exception",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "FutureWarning",
    "GeneratorExit",
    "IOError",
    "ImportError",
    "ImportWarning",
    "IndentationError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "KeyboardInterrupt",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotADirectoryError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PendingDeprecationWarning",
    "PermissionError",
    "ProcessLookupError",
    "PythonFinalizationError",
    "RecursionError",
    "ReferenceError",
    "ResourceWarning",
    "RuntimeError",
    "RuntimeWarning",
    "StopAsyncIteration",
    "StopIteration",
    "SyntaxError",
    "SyntaxWarning",
    "SystemError",
    "SystemExit",
    "TabError",
    "TimeoutError",
    "TypeError",
    "UnboundLocalError",
    "UnicodeDecodeError",
    "UnicodeEncodeError",
    "UnicodeError",
    "UnicodeTranslateError",
    "UnicodeWarning",
    "UserWarning",
    "ValueError",
    "ZeroDivisionError",
];

impl Global {
    /// What a name stands for, if it may be used. Names that protocols below 3 have
    /// from Python 2 are known too.
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("builtins" | "__builtin__", "set" | "frozenset") => Self::Set,
            ("builtins" | "__builtin__", "bytes" | "bytearray") => Self::Bytes,
            ("builtins" | "__builtin__", "list") => Self::List,
            ("builtins" | "__builtin__", "slice") => Self::Slice,
            ("_codecs", "encode") => Self::Encode,
            ("collections", "OrderedDict") => Self::Dict,
            ("multiprocessing.managers", "Token") => Self::Token,
            _ => Self::Exception(Class::find(module, name)?),
        })
    }
}

impl Class {
    /// The class of this name, if it is known.
    pub(crate) fn find(module: &str, name: &str) -> Option<Self> {
        let module = match module {
            "exceptions" => "builtins",
            "_queue" | "Queue" => "queue",
            module => module,
        };
        if module == "builtins" {
            let name = BUILTIN.into_iter().find(|known| *known == name)?;
            return Some(Self { module: "builtins", name });
        }
        OTHERS.into_iter().find(|known| known.module == module && known.name == name)
    }
}
