//! The wire as OpenSSL sees it: ciphertext that came from the socket, and ciphertext to send.

use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::openssl::{Bio, OpenSsl, Ssl};

const RETRY_READ: c_int = 0x01 | 0x08; // BIO_FLAGS_READ, BIO_FLAGS_SHOULD_RETRY
const RETRY_ALL: c_int = 0x0F; // what BIO_clear_retry_flags clears
const CONTROL_PENDING: c_int = 10; // BIO_CTRL_PENDING
const CONTROL_FLUSH: c_int = 11; // BIO_CTRL_FLUSH
const CONTROL_DUP: c_int = 12; // BIO_CTRL_DUP
const CONTROL_WRITE_PENDING: c_int = 13; // BIO_CTRL_WPENDING

/// Both ways of one connection. OpenSSL holds it as its BIO, and the engine beside it.
///
/// The lock is never waited for unless a program uses the connection's `ssl_object` from another
/// thread, which is its bug; it then gets OpenSSL's errors and not broken memory of ours.
#[derive(Default)]
pub(super) struct Wire(Mutex<Bytes>);

#[derive(Default)]
struct Bytes {
    /// Came before, and was not wanted yet.
    early: Vec<u8>,
    /// How much of `early` is read.
    early_read: usize,
    /// What came now, borrowed: null but within `Wire::with_input`.
    input: Input,
    output: Vec<u8>,
}

struct Input {
    start: *const u8,
    len: usize,
}

// SAFETY: the pointer is only followed under the lock, while `with_input` keeps its memory borrowed.
unsafe impl Send for Input {}

impl Default for Input {
    fn default() -> Self {
        Self { start: std::ptr::null(), len: 0 }
    }
}

impl Wire {
    /// Makes `wire` what `ssl` reads and writes.
    ///
    /// # Safety
    /// `ssl` is a live connection of `openssl` that is not in a call.
    pub(super) unsafe fn attach(self: &Arc<Self>, openssl: &OpenSsl, ssl: *mut Ssl) -> bool {
        // SAFETY: the method is complete. The BIO owns the reference that `into_raw` gives, and
        // `bio_destroy` drops it; `ssl` takes over the BIO, one reference for both directions.
        unsafe {
            let bio = (openssl.bio_new)(openssl.method.as_ptr());
            if bio.is_null() {
                return false;
            }
            (openssl.bio_set_data)(bio, Arc::into_raw(Arc::clone(self)).cast_mut().cast());
            (openssl.bio_set_init)(bio, 1);
            (openssl.ssl_set_bio)(ssl, bio, bio);
        }
        true
    }

    /// Runs `work` with `data` there to read, behind what is there already. What is not read is kept.
    pub(super) fn with_input<R>(&self, data: &[u8], work: impl FnOnce() -> R) -> R {
        struct Keep<'a>(&'a Wire);
        impl Drop for Keep<'_> {
            fn drop(&mut self) {
                self.0.lock().keep_input();
            }
        }
        self.lock().input = Input { start: data.as_ptr(), len: data.len() };
        let _keep = Keep(self); // also when `work` unwinds: the memory is borrowed for this call
        work()
    }

    /// Bytes that were not read yet.
    pub(super) fn unread(&self) -> usize {
        let bytes = self.lock();
        bytes.early.len() - bytes.early_read + bytes.input.len
    }

    /// Drops what was not read.
    pub(super) fn clear_input(&self) {
        let mut bytes = self.lock();
        bytes.input = Input::default();
        bytes.early = Vec::new();
        bytes.early_read = 0;
    }

    /// Bytes to send.
    pub(super) fn output_len(&self) -> usize {
        self.lock().output.len()
    }

    /// Takes what is to send, and gives `spare`, which is empty, for what comes.
    pub(super) fn take_output(&self, spare: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.lock().output, spare)
    }

    fn lock(&self) -> MutexGuard<'_, Bytes> {
        // Nothing that is done under the lock can leave the bytes half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bytes {
    fn read(&mut self, target: *mut u8, size: usize) -> usize {
        let early = &self.early[self.early_read..];
        if !early.is_empty() {
            let count = early.len().min(size);
            // SAFETY: OpenSSL's memory of `size` bytes; it cannot overlap ours.
            unsafe { std::ptr::copy_nonoverlapping(early.as_ptr(), target, count) };
            self.early_read += count;
            if self.early_read == self.early.len() {
                self.early = Vec::new();
                self.early_read = 0;
            }
            return count;
        }
        let count = self.input.len.min(size);
        if count > 0 {
            // SAFETY: as above; `with_input` keeps the memory at `start` borrowed while `len` is
            // not zero, and `count` is at most that.
            unsafe {
                std::ptr::copy_nonoverlapping(self.input.start, target, count);
                self.input.start = self.input.start.add(count);
            }
            self.input.len -= count;
        }
        count
    }

    fn keep_input(&mut self) {
        let input = std::mem::take(&mut self.input);
        if input.len > 0 {
            self.early.drain(..self.early_read);
            self.early_read = 0;
            // SAFETY: `with_input` calls this before its borrow of that memory ends.
            let rest = unsafe { std::slice::from_raw_parts(input.start, input.len) };
            self.early.extend_from_slice(rest);
        }
    }
}

/// The wire of one of our BIOs.
///
/// # Safety
/// OpenSSL calls a BIO's functions while it is alive, and it is one that `attach` made.
unsafe fn wire_of<'a>(openssl: &OpenSsl, bio: *mut Bio) -> Option<&'a Wire> {
    // SAFETY: the caller's: the data is null, or the reference that the BIO owns.
    unsafe { NonNull::new((openssl.bio_get_data)(bio).cast::<Wire>()).map(|wire| wire.as_ref()) }
}

/// Gives OpenSSL what came. May run without the GIL, as all of these.
pub(super) unsafe extern "C" fn bio_read(bio: *mut Bio, target: *mut c_char, size: c_int) -> c_int {
    // SAFETY: see `wire_of`; OpenSSL passes memory of `size` bytes.
    unsafe {
        let Some(openssl) = OpenSsl::known() else { return -1 };
        let Some(wire) = wire_of(openssl, bio) else { return -1 };
        (openssl.bio_clear_flags)(bio, RETRY_ALL);
        let size = usize::try_from(size).unwrap_or(0);
        match wire.lock().read(target.cast(), size) {
            0 => {
                (openssl.bio_set_flags)(bio, RETRY_READ);
                -1
            }
            count => count as c_int, // at most `size`
        }
    }
}

/// Takes from OpenSSL what is to send. Its limit is the engine's, which stops writing.
pub(super) unsafe extern "C" fn bio_write(
    bio: *mut Bio,
    data: *const c_char,
    size: c_int,
) -> c_int {
    // SAFETY: see `wire_of`; OpenSSL passes memory of `size` bytes.
    unsafe {
        let Some(openssl) = OpenSsl::known() else { return -1 };
        let Some(wire) = wire_of(openssl, bio) else { return -1 };
        (openssl.bio_clear_flags)(bio, RETRY_ALL);
        let Ok(count) = usize::try_from(size) else { return -1 };
        if count > 0 {
            let data = std::slice::from_raw_parts(data.cast::<u8>(), count);
            wire.lock().output.extend_from_slice(data);
        }
        size
    }
}

/// Answers OpenSSL's questions; what it does not know it answers by 0, as the manual asks.
pub(super) unsafe extern "C" fn bio_control(
    bio: *mut Bio,
    command: c_int,
    _number: c_long,
    _pointer: *mut c_void,
) -> c_long {
    match command {
        CONTROL_FLUSH | CONTROL_DUP => 1,
        CONTROL_PENDING | CONTROL_WRITE_PENDING => {
            let Some(openssl) = OpenSsl::known() else { return 0 };
            // SAFETY: see `wire_of`.
            let Some(wire) = (unsafe { wire_of(openssl, bio) }) else { return 0 };
            let pending =
                if command == CONTROL_PENDING { wire.unread() } else { wire.output_len() };
            c_long::try_from(pending).unwrap_or(c_long::MAX)
        }
        _ => 0,
    }
}

/// OpenSSL lets go of the BIO.
pub(super) unsafe extern "C" fn bio_destroy(bio: *mut Bio) -> c_int {
    let Some(openssl) = OpenSsl::known() else { return 0 };
    // SAFETY: the data is the reference that `attach` gave to this BIO, and is given back once.
    unsafe {
        let wire = (openssl.bio_get_data)(bio).cast::<Wire>();
        (openssl.bio_set_data)(bio, std::ptr::null_mut());
        if !wire.is_null() {
            drop(Arc::from_raw(wire.cast_const()));
        }
    }
    1
}
