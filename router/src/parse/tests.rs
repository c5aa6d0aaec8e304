use super::parse;

fn texts(text: &str) -> Vec<String> {
    parse(text)
        .unwrap()
        .into_iter()
        .map(|statement| statement.text)
        .collect()
}

#[test]
fn statements_are_split_and_trimmed() {
    assert_eq!(texts(" select 1 ; "), ["select 1"]);
    assert_eq!(
        texts("select ';' ;\n\n select 2;; -- end"),
        ["select ';'", "select 2"]
    );
    assert_eq!(
        texts("/* a */ select 1 -- end"),
        ["/* a */ select 1 -- end"]
    );
    assert!(texts(" ; -- nothing").is_empty());
    assert!(texts("").is_empty());
}

#[test]
fn locations_count_the_bytes_of_the_statement_itself() {
    let parsed = parse("  select 'é'; select x from t").unwrap();
    let pg_query::NodeEnum::SelectStmt(select) = &parsed[1].node else {
        panic!()
    };
    let Some(pg_query::NodeEnum::RangeVar(range)) = &select.from_clause[0].node else {
        panic!()
    };
    assert_eq!(&parsed[1].text[range.location as usize..], "t");
    assert_eq!(parsed[1].characters_before, 14);
}

#[track_caller]
fn fails(text: &str, message: &str, position: u32) {
    let error = parse(text).unwrap_err();
    assert_eq!(
        (error.sqlstate, error.message.as_str(), error.position),
        ("42601", message, Some(position))
    );
}

#[test]
fn a_syntax_error_has_postgresqls_words_and_position() {
    fails("selct 1", "syntax error at or near \"selct\"", 1);
    fails(
        " select 1; select é 2 from from",
        "syntax error at or near \"2\"",
        21,
    );
    fails("select (1", "syntax error at end of input", 10);
    fails(
        "select 'abc",
        "unterminated quoted string at or near \"'abc\"",
        8,
    );
    fails("select x x x", "syntax error at or near \"x\"", 12);
}

#[test]
fn long_flat_statements_parse() {
    let rows = vec!["(1, 'a', -2)"; 5_000].join(", ");
    assert_eq!(texts(&format!("insert into t values {rows}")).len(), 1);
    let tests = vec!["(a = 1 and b = 2)"; 5_000].join(" or ");
    assert_eq!(texts(&format!("select 1 where {tests}")).len(), 1);
}

#[test]
fn deep_statements_parse_or_are_refused_and_never_overflow_the_stack() {
    for (open, close) in [
        ("(", ")"),
        ("1 + ", ""),
        ("abs(", ")"),
        ("not ", ""),
        ("(select ", ")"),
        ("- ", ""),
    ] {
        for depth in [90, 240, 450, 100_000] {
            let text = format!("select {}1{}", open.repeat(depth), close.repeat(depth));
            match parse(&text) {
                Ok(statements) => assert_eq!(statements.len(), 1),
                Err(error) => assert!(
                    depth > 240 && error.sqlstate == "54001",
                    "{open} {depth}: {error}"
                ),
            }
        }
    }
    let joins = " join t on true".repeat(400);
    assert_eq!(texts(&format!("select 1 from t{joins}")).len(), 1);
}
