//! Values that change in several steps, such as files that are being replaced.

/// A value that is accepted once it was observed twice in a row, because a writer may not be done after the first change.
#[derive(Debug)]
pub(crate) struct Debounced<T> {
    last: T,
    accepted: T,
}

impl<T: Clone + PartialEq> Debounced<T> {
    /// Starts with an accepted value.
    pub(crate) fn new(accepted: T) -> Self {
        Self { last: accepted.clone(), accepted }
    }

    /// Observes a value. Returns whether that accepts it: the last one was equal, and the accepted one is another. Each value is
    /// accepted once.
    pub(crate) fn observe(&mut self, value: &T) -> bool {
        let is_settled = self.last == *value;
        self.last = value.clone();
        let is_accepted = is_settled && self.accepted != *value;
        if is_accepted {
            self.accepted = value.clone();
        }
        is_accepted
    }

    /// Accepts a value at once.
    pub(crate) fn accept(&mut self, value: T) {
        self.last = value.clone();
        self.accepted = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debounced_value_is_accepted_once_when_observed_twice() {
        let mut value = Debounced::new("a");
        let mut check = |observed: &[&'static str], expected: &[bool]| {
            let accepted: Vec<bool> = observed.iter().map(|observed| value.observe(observed)).collect();
            assert_eq!(accepted, expected, "{observed:?}");
        };
        check(&["a", "a", "b", "b", "b"], &[false, false, false, true, false]);
        // In between it was another for a moment.
        check(&["c", "b", "b", "c", "a", "a"], &[false, false, false, false, false, true]);
        value.accept("d");
        assert!(!value.observe(&"d") && !value.observe(&"a") && value.observe(&"a"));
    }
}
