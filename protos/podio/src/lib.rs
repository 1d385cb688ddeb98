//! Pod I/O.
