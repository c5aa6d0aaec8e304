//! The program `social-app`, built by the same command as the tests that run it.

fn main() -> anyhow::Result<()> {
    social_app::cli::main()
}
