//! mini-redis's server, as its own binary runs it, on the port given as argument.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("a port, please")?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        mini_redis::server::run(listener, tokio::signal::ctrl_c()).await;
        Ok(())
    })
}
