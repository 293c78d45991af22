//! How an answer gets back.

use std::sync::mpsc;

use crate::error::BrokerError;

/// Called once, with the answer. One that is dropped uncalled answers that the broker is gone.
pub struct Reply<T> {
    answer: Option<Callback<T>>,
}

type Callback<T> = Box<dyn FnOnce(Result<T, BrokerError>) + Send>;

impl<T> Reply<T> {
    /// Calls `answer`, from a thread of the engine, which it must not block.
    pub fn new(answer: impl FnOnce(Result<T, BrokerError>) + Send + 'static) -> Self {
        Self { answer: Some(Box::new(answer)) }
    }

    /// Answers.
    pub fn send(mut self, result: Result<T, BrokerError>) {
        if let Some(answer) = self.answer.take() {
            answer(result);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            answer(Err(BrokerError::Closed("the broker was closed before it answered".into())));
        }
    }
}

/// Blocks until the reply that `call` gets is answered. Not for the engine's own threads.
pub fn wait<T: Send + 'static>(call: impl FnOnce(Reply<T>)) -> Result<T, BrokerError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    call(Reply::new(move |result| {
        // Nobody is there any more to be told: the caller's thread is unwinding.
        let _ = sender.send(result);
    }));
    receiver.recv().unwrap_or_else(|_| Err(BrokerError::Closed("the broker did not answer".into())))
}
