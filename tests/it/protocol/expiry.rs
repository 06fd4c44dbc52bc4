//! What is forgotten when the retention is over, and what never is. Over the simulated store, whose time can be moved.
