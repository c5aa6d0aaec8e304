//! See [`social_app::cli`].

fn main() -> anyhow::Result<()> {
    social_app::cli::main()
}
