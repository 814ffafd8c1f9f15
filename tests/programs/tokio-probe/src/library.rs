//! A shared library with a tokio of its own, loaded at run time.

use std::ffi::{CStr, CString, c_char};

type Run = unsafe extern "C" fn(*const c_char, u64);

/// The loaded library.
pub struct Library {
    run: Run,
}

impl Library {
    pub fn open(path: &str) -> Self {
        let path = CString::new(path).unwrap();
        // SAFETY: the path is a C string; a test loads only the library that was built for it.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            // SAFETY: after a failed dlopen, dlerror gives a C string.
            panic!("{}", unsafe { CStr::from_ptr(libc::dlerror()) }.to_string_lossy());
        }
        // SAFETY: the handle is open and never closed.
        let symbol = unsafe { libc::dlsym(handle, c"probe_library_run".as_ptr()) };
        assert!(!symbol.is_null());
        // SAFETY: `probe_library_run` in `../tokio-library` has this signature.
        Self {
            run: unsafe { std::mem::transmute::<*mut libc::c_void, Run>(symbol) },
        }
    }

    /// Runs one command in the library; the library prints its own truth.
    pub fn run(&self, command: &str, n: u64) {
        let command = CString::new(command).unwrap();
        // SAFETY: the string outlives the call.
        unsafe { (self.run)(command.as_ptr(), n) };
    }
}
