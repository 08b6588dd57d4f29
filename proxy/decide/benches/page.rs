//! One ordinary page of text.

/// Prose and code as agents send it, without a secret: 64 KiB.
pub(crate) fn text() -> String {
    let page = "The quick way through the night is the highway; they gathered eight gifts along \
        the early yard. `task-list` and `disk-usage` are skills, sk-SK is a locale.\n\
        fn main() { let graph = Graph::new(); for edge in graph.edges() { println!(\"{edge:?}\"); } }\n\
        {\"role\": \"assistant\", \"content\": \"I have changed three files and run the tests.\"}\n\
        drwxr-xr-x 4 user user 4096 Nov 21 09:14 src -rw-r--r-- 1 user user 18233 Cargo.lock\n";
    page.chars().cycle().take(64 * 1024).collect()
}
