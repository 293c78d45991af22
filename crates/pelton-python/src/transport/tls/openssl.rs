//! The OpenSSL that Python's `_ssl` module is linked to, called without going through Python.
//!
//! Nothing is linked here: the functions are looked up in the library that `_ssl` has loaded, so
//! that the `SSL` objects it makes are worked on by the code that made them. Where they cannot be
//! found (an interpreter with OpenSSL inside, its symbols hidden) there is no `OpenSsl`, and TLS
//! takes the way through Python's methods.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_ulong, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

use pyo3::prelude::*;

use super::wire;

/// OpenSSL's `SSL`: a connection.
pub(super) enum Ssl {}
/// OpenSSL's `SSL_CTX`.
pub(super) enum SslContext {}
/// OpenSSL's `BIO`: where a connection's bytes come from and go to.
pub(super) enum Bio {}
/// OpenSSL's `BIO_METHOD`.
pub(super) enum BioMethod {}

/// `SSL_ERROR_WANT_READ`
pub(super) const WANT_READ: c_int = 2;
/// `SSL_ERROR_WANT_WRITE`
pub(super) const WANT_WRITE: c_int = 3;
/// `SSL_ERROR_ZERO_RETURN`: the peer's close_notify came.
pub(super) const ZERO_RETURN: c_int = 6;
/// `SSL_CTRL_MODE`: `SSL_set_mode` by `SSL_ctrl`.
pub(super) const SET_MODE: c_int = 33;
/// `SSL_CTRL_CLEAR_MODE`: `SSL_clear_mode` by `SSL_ctrl`.
pub(super) const CLEAR_MODE: c_int = 78;
/// `SSL_MODE_RELEASE_BUFFERS`
pub(super) const RELEASE_BUFFERS: c_long = 0x10;
/// `BIO_TYPE_SOURCE_SINK`
const SOURCE_SINK: c_int = 0x0400;
/// The oldest version with all of these functions: 1.1.1.
const VERSION_MIN: c_ulong = 0x1010_1000;

type BioRead = unsafe extern "C" fn(*mut Bio, *mut c_char, c_int) -> c_int;
type BioWrite = unsafe extern "C" fn(*mut Bio, *const c_char, c_int) -> c_int;
type BioControl = unsafe extern "C" fn(*mut Bio, c_int, c_long, *mut c_void) -> c_long;
type BioLife = unsafe extern "C" fn(*mut Bio) -> c_int;

/// OpenSSL's functions, as its manual describes them.
pub(super) struct OpenSsl {
    pub(super) ssl_read: unsafe extern "C" fn(*mut Ssl, *mut c_void, c_int) -> c_int,
    pub(super) ssl_write: unsafe extern "C" fn(*mut Ssl, *const c_void, c_int) -> c_int,
    pub(super) ssl_get_error: unsafe extern "C" fn(*const Ssl, c_int) -> c_int,
    pub(super) ssl_pending: unsafe extern "C" fn(*const Ssl) -> c_int,
    pub(super) ssl_set_bio: unsafe extern "C" fn(*mut Ssl, *mut Bio, *mut Bio),
    pub(super) ssl_get_rbio: unsafe extern "C" fn(*const Ssl) -> *mut Bio,
    pub(super) ssl_get_ssl_ctx: unsafe extern "C" fn(*const Ssl) -> *mut SslContext,
    pub(super) ssl_ctrl: unsafe extern "C" fn(*mut Ssl, c_int, c_long, *mut c_void) -> c_long,
    pub(super) ssl_free_buffers: unsafe extern "C" fn(*mut Ssl) -> c_int,
    /// Optional: without it no buffer is freed early.
    pub(super) ssl_rstate_string: Option<unsafe extern "C" fn(*const Ssl) -> *const c_char>,
    pub(super) err_peek_error: unsafe extern "C" fn() -> c_ulong,
    pub(super) err_clear_error: unsafe extern "C" fn(),
    pub(super) bio_new: unsafe extern "C" fn(*const BioMethod) -> *mut Bio,
    pub(super) bio_set_data: unsafe extern "C" fn(*mut Bio, *mut c_void),
    pub(super) bio_get_data: unsafe extern "C" fn(*mut Bio) -> *mut c_void,
    pub(super) bio_set_init: unsafe extern "C" fn(*mut Bio, c_int),
    pub(super) bio_set_flags: unsafe extern "C" fn(*mut Bio, c_int),
    pub(super) bio_clear_flags: unsafe extern "C" fn(*mut Bio, c_int),
    /// The method of our own kind of BIO.
    pub(super) method: NonNull<BioMethod>,
}

// SAFETY: functions, and a method table that nobody changes once it is made.
unsafe impl Send for OpenSsl {}
// SAFETY: as above.
unsafe impl Sync for OpenSsl {}

static FOUND: OnceLock<Option<OpenSsl>> = OnceLock::new();

impl OpenSsl {
    /// Python's OpenSSL, looked for once.
    pub(super) fn get(py: Python<'_>) -> Option<&'static Self> {
        if FOUND.get().is_none() {
            // Not by `get_or_init`: the search runs Python, which must not wait for another thread's.
            let _ = FOUND.set(Self::find(py)); // it is set already: the other found the same
        }
        Self::known()
    }

    /// What `get` found, for the callbacks of our BIO: they have no interpreter.
    pub(super) fn known() -> Option<&'static Self> {
        FOUND.get()?.as_ref()
    }

    fn find(py: Python<'_>) -> Option<Self> {
        let version: String =
            py.import("ssl").ok()?.getattr("OPENSSL_VERSION").ok()?.extract().ok()?;
        if !version.starts_with("OpenSSL ") {
            return None; // LibreSSL, AWS-LC: other libraries with the same names
        }
        let library = Library::of_python(py)?;
        // SAFETY: the names are those of OpenSSL's manual, and so are the types they are given;
        // the version is asked for before anything that is younger than it.
        unsafe {
            let version_num: unsafe extern "C" fn() -> c_ulong =
                library.function(c"OpenSSL_version_num")?;
            if version_num() < VERSION_MIN {
                return None;
            }
            let method = make_method(&library)?;
            Some(Self {
                ssl_read: library.function(c"SSL_read")?,
                ssl_write: library.function(c"SSL_write")?,
                ssl_get_error: library.function(c"SSL_get_error")?,
                ssl_pending: library.function(c"SSL_pending")?,
                ssl_set_bio: library.function(c"SSL_set_bio")?,
                ssl_get_rbio: library.function(c"SSL_get_rbio")?,
                ssl_get_ssl_ctx: library.function(c"SSL_get_SSL_CTX")?,
                ssl_ctrl: library.function(c"SSL_ctrl")?,
                ssl_free_buffers: library.function(c"SSL_free_buffers")?,
                ssl_rstate_string: library.function(c"SSL_rstate_string"),
                err_peek_error: library.function(c"ERR_peek_error")?,
                err_clear_error: library.function(c"ERR_clear_error")?,
                bio_new: library.function(c"BIO_new")?,
                bio_set_data: library.function(c"BIO_set_data")?,
                bio_get_data: library.function(c"BIO_get_data")?,
                bio_set_init: library.function(c"BIO_set_init")?,
                bio_set_flags: library.function(c"BIO_set_flags")?,
                bio_clear_flags: library.function(c"BIO_clear_flags")?,
                method,
            })
        }
    }
}

/// # Safety
/// `library` is OpenSSL 1.1.1 or newer.
unsafe fn make_method(library: &Library) -> Option<NonNull<BioMethod>> {
    type Setter<F> = unsafe extern "C" fn(*mut BioMethod, F) -> c_int;
    // SAFETY: the names and types of OpenSSL's manual; the method lives as long as the process.
    unsafe {
        let new_index: unsafe extern "C" fn() -> c_int = library.function(c"BIO_get_new_index")?;
        let new: unsafe extern "C" fn(c_int, *const c_char) -> *mut BioMethod =
            library.function(c"BIO_meth_new")?;
        let set_read: Setter<BioRead> = library.function(c"BIO_meth_set_read")?;
        let set_write: Setter<BioWrite> = library.function(c"BIO_meth_set_write")?;
        let set_control: Setter<BioControl> = library.function(c"BIO_meth_set_ctrl")?;
        let set_destroy: Setter<BioLife> = library.function(c"BIO_meth_set_destroy")?;
        let method = new(new_index() | SOURCE_SINK, c"pelton".as_ptr());
        set_read(method, wire::bio_read);
        set_write(method, wire::bio_write);
        set_control(method, wire::bio_control);
        set_destroy(method, wire::bio_destroy);
        NonNull::new(method)
    }
}

/// Where `_ssl` gets its OpenSSL from.
struct Library {
    handle: *mut c_void,
    /// Set where OpenSSL must be in the same file as this: `_ssl` is built into the interpreter.
    same_file_as: Option<*mut c_void>,
}

impl Library {
    fn of_python(py: Python<'_>) -> Option<Self> {
        let module = py.import("_ssl").ok()?;
        let Ok(file) = module.getattr("__file__") else {
            return Self::of_interpreter();
        };
        let file: PathBuf = file.extract().ok()?;
        let file = CString::new(file.as_os_str().as_bytes()).ok()?;
        // SAFETY: a path that is loaded already: no initializer runs. The handle is kept for ever.
        let handle = unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
        (!handle.is_null()).then_some(Self { handle, same_file_as: None })
    }

    fn of_interpreter() -> Option<Self> {
        let handle = libc::RTLD_DEFAULT;
        // SAFETY: looks up a name.
        let module = unsafe { libc::dlsym(handle, c"PyInit__ssl".as_ptr()) };
        (!module.is_null()).then_some(Self { handle, same_file_as: Some(module) })
    }

    /// # Safety
    /// `F` is the type of the function of that name.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: looks up a name in a library that stays loaded.
        let address = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        if address.is_null() {
            return None;
        }
        if let Some(other) = self.same_file_as
            && file_of(address) != file_of(other)
        {
            return None; // someone else's OpenSSL
        }
        // SAFETY: the caller's: it is a function of this type, and of a pointer's size (checked).
        Some(unsafe { std::mem::transmute_copy(&address) })
    }
}

/// Where the file that `address` is in was loaded.
fn file_of(address: *mut c_void) -> *mut c_void {
    // SAFETY: all zeroes is a valid Dl_info; dladdr fills it, or leaves it.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(address, &raw mut info) == 0 {
            return null_mut();
        }
        info.dli_fbase
    }
}
