//! Handshakes take turns: so few in one turn of the loop that those who are served wait little.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use pyo3::prelude::*;

use super::super::guard;
use super::super::shared::Shared;
use super::layer::Layer;

/// Steps of handshakes in one turn of the loop. The dear one, with a signature, takes a tenth of a
/// millisecond with ECDSA, and one or two with RSA.
const STEPS: usize = 4;

/// The connections whose next step of a handshake waits, first come first served.
pub(super) struct Turns {
    shared: Rc<Shared>,
    /// Steps that this turn of the loop still allows.
    left: Cell<usize>,
    waiting: RefCell<VecDeque<Weak<Layer>>>,
    /// The next turn of the loop will come here.
    asked: Cell<bool>,
    me: Weak<Self>,
}

impl Turns {
    pub(super) fn new(shared: Rc<Shared>) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            shared,
            left: Cell::new(STEPS),
            waiting: RefCell::default(),
            asked: Cell::new(false),
            me: me.clone(),
        })
    }

    /// Whether a step may be made at once; otherwise `layer` is told when it is its turn.
    pub(super) fn take(&self, layer: &Weak<Layer>) -> bool {
        self.ask();
        let mut waiting = self.waiting.borrow_mut();
        if self.left.get() > 0 && waiting.is_empty() {
            self.left.set(self.left.get() - 1);
            return true;
        }
        waiting.push_back(layer.clone());
        false
    }

    fn ask(&self) {
        if self.asked.replace(true) {
            return;
        }
        let me = self.me.clone();
        self.shared.event_loop.run_soon_native(move |py| {
            if let Some(turns) = me.upgrade() {
                turns.next(py);
            }
            Ok(())
        });
    }

    /// Another turn of the loop.
    fn next(&self, py: Python<'_>) {
        self.asked.set(false);
        self.left.set(STEPS);
        while self.left.get() > 0 {
            // A `let` of its own: the borrow ends before the step.
            let first = self.waiting.borrow_mut().pop_front();
            let Some(first) = first else { return };
            let Some(layer) = first.upgrade() else { continue };
            self.left.set(self.left.get() - 1);
            if guard::run(&self.shared, py, || layer.shake_hands(py)).is_none() {
                layer.break_off(py);
            }
        }
        if !self.waiting.borrow().is_empty() {
            self.ask();
        }
    }
}
