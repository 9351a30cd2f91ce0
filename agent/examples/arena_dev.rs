//! Temporary: runs the arena for the page's author.
use landfall_agent::arena::*;
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let src = if a[1] == "photos" {
        RoundSource::Photos(a[2].clone().into())
    } else {
        RoundSource::Fixtures(a[2].clone().into())
    };
    let mut o = ArenaOptions { port: a[3].parse()?, seed: Some(1), ..ArenaOptions::new(src) };
    o.first_shows =
        Dialogs { consent: a.iter().any(|x| x == "consent"), interstitial: a.iter().any(|x| x == "interstitial") };
    let arena = Arena::start(o).await?;
    println!("{} {:?}", arena.url(), arena.notes());
    tokio::signal::ctrl_c().await?;
    arena.stop().await;
    Ok(())
}
