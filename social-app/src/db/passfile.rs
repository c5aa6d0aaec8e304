//! The parameter `passfile` of a connection string, which the driver does not know: the file is read as libpq reads it.

use anyhow::Context as _;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// The connection string without its passfile, and the passfile's path.
pub fn split(url: &str) -> (String, Option<String>) {
    let Some((before, parameters)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let (passfile, rest): (Vec<&str>, Vec<&str>) = parameters
        .split('&')
        .partition(|parameter| parameter.starts_with("passfile="));
    let path = passfile.first().map(|parameter| {
        let path = parameter.trim_start_matches("passfile=");
        percent_encoding::percent_decode_str(path)
            .decode_utf8_lossy()
            .into_owned()
    });
    let question = if rest.is_empty() { "" } else { "?" };
    (format!("{before}{question}{}", rest.join("&")), path)
}

/// Of the first line that fits: `host:port:database:user:password`, where `*` fits anything.
pub fn password(path: &str, config: &Config) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("passfile {path}"))?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        _ => "localhost".to_owned(),
    };
    let port = config.get_ports().first().unwrap_or(&5432).to_string();
    let user = config.get_user().unwrap_or("");
    let database = config.get_dbname().unwrap_or(user);
    let wanted = [host.as_str(), port.as_str(), database, user];
    text.lines()
        .find_map(|line| fits(line, wanted))
        .with_context(|| format!("passfile {path} has no line for {user} at {host}:{port}"))
}

fn fits(line: &str, wanted: [&str; 4]) -> Option<String> {
    let fields = fields(line);
    let [host, port, database, user, password] = fields.as_slice() else {
        return None;
    };
    let same = [host, port, database, user]
        .into_iter()
        .zip(wanted)
        .all(|(field, wanted)| field == "*" || field == wanted);
    same.then(|| password.clone())
}

/// Parted by colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => fields.push(String::new()),
            '\\' => fields
                .last_mut()
                .into_iter()
                .for_each(|field| field.extend(characters.next())),
            other => fields
                .last_mut()
                .into_iter()
                .for_each(|field| field.push(other)),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_passfile_is_taken_out_of_the_connection_string() {
        let (url, path) = split("postgres://a@b/c?passfile=/x%20y&sslmode=disable");
        assert_eq!(url, "postgres://a@b/c?sslmode=disable");
        assert_eq!(path.as_deref(), Some("/x y"));
        assert_eq!(split("postgres://a@b/c?passfile=p").0, "postgres://a@b/c");
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let wanted = ["h", "1", "d", "u"];
        assert_eq!(fits("h:1:d:u:a\\:b", wanted).as_deref(), Some("a:b"));
        assert_eq!(fits("*:*:*:u:p", wanted).as_deref(), Some("p"));
        assert_eq!(fits("h:2:d:u:p", wanted), None);
    }
}
