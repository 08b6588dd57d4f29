//! The agent of the tests as a program: see [`e2e::caller`].

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    e2e::caller::serve().await
}
