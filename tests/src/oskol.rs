//! The program `oskol`, built by the same command and with the same features as the tests that run it.

fn main() -> std::process::ExitCode {
    router::cli::main()
}
