//! `social-app migrate|counts URL`.

use anyhow::bail;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, url] = arguments.as_slice() else {
        bail!("usage: social-app migrate|counts postgres://user:password@host:port/database");
    };
    let mut client = social_app::connect(url).await?;
    match command.as_str() {
        "migrate" => match social_app::migrate(&mut client).await?.as_slice() {
            [] => println!("nothing to do"),
            applied => println!("applied {}", applied.join(", ")),
        },
        "counts" => {
            for (table, rows) in social_app::counts(&client).await? {
                println!("{rows:>10} {table}");
            }
        }
        other => bail!("{other} is not a command: migrate or counts"),
    }
    Ok(())
}
