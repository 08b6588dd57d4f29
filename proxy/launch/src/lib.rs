//! Namespaces, processes and seccomp of tollgate exec.
