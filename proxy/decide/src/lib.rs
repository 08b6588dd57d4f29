//! The decision core: given what is known about one exchange, what happens to it.
