//! Pipes, arguments and exit codes pass through a run as if it were not there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, ensure};
use e2e::harness::Stand;

use super::{outside, program};

#[test]
fn exit_codes_arrive_in_the_users_shell() -> Result<()> {
    let stand = Stand::new()?;
    std::fs::write(stand.work().join("no-program"), "x")?;
    for (words, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 3"], 3),
        (&["./no-program"], 126),
        (&["no-such-program-anywhere"], 127),
        (&["sh", "-c", "kill -TERM $$"], 143),
    ] {
        let shell = outside(&stand, stand.gate(&[])?, words, "sh $RUN; echo code=$?")?;
        ensure!(shell.stdout == format!("code={code}\n"), "{words:?}: {shell:?}");
        ensure!(shell.stderr.contains("chain valid"), "{words:?} has no summary: {shell:?}");
        let said = shell.stderr.lines().find(|line| line.contains("no-")).unwrap_or_default();
        let wanted = match code {
            126 => "tollgate: ./no-program: cannot be executed: Permission denied (os error 13)",
            127 => {
                "tollgate: no-such-program-anywhere: command not found (looked for in PATH, inside)"
            }
            _ => "",
        };
        ensure!(said == wanted, "{words:?}: {shell:?}");
    }
    Ok(())
}

#[test]
fn a_piped_stdout_holds_the_programs_bytes_and_nothing_else() -> Result<()> {
    let stand = Stand::new()?;
    let outcome = stand.gate(&[])?.run(["printf", "a\\nb"])?;
    ensure!(outcome.stdout == "a\nb", "{outcome:?}");
    let mut lines = outcome.stderr.lines();
    let first = lines.next().unwrap_or_default();
    ensure!(first.starts_with("tollgate: enforcing · own network, kernel "), "{outcome:?}");
    ensure!(first.contains("key sealed: OPENAI_API_KEY, ANTHROPIC_API_KEY"), "{first}");
    ensure!(
        lines.any(|line| line.starts_with("tollgate: 0 requests") && line.ends_with("chain valid")),
        "{outcome:?}"
    );
    Ok(())
}

#[test]
fn a_megabyte_is_piped_through_unchanged_and_its_end_is_seen() -> Result<()> {
    let stand = Stand::new()?;
    let script = "head -c 1000000 /dev/urandom > in; cat in | sh $RUN | cat > out; \
                  echo ${PIPESTATUS[@]}; cmp in out && wc -c < out";
    let shell = outside(&stand, stand.gate(&[])?, &["cat"], script)?;
    ensure!(shell.stdout == "0 0 0\n1000000\n", "{shell:?}");
    Ok(())
}

#[test]
fn a_reader_that_goes_away_ends_the_command_as_it_would_without_us() -> Result<()> {
    let stand = Stand::new()?;
    let script = "sh $RUN | head -n 1; echo ${PIPESTATUS[0]}";
    let shell = outside(&stand, stand.gate(&[])?, &["yes"], script)?;
    ensure!(shell.stdout == "y\n141\n", "{shell:?}");
    Ok(())
}

#[test]
fn arguments_arrive_byte_for_byte() -> Result<()> {
    let stand = Stand::new()?;
    let odd: [&[u8]; 11] = [
        b"",
        b" ",
        b"two words",
        b"'\"`$HOME$(id)\\",
        b"line\nline\r\t",
        b"*",
        b"--",
        b"--observe",
        b"-",
        "caf\u{e9} \u{202e}\u{1f600}".as_bytes(),
        b"\xff\xfe\x01\x1b[2J",
    ];
    let show = "printf '%s\\0' \"$@\" | od -An -v -tx1 | tr -d ' \\n'";
    let words = ["sh", "-c", show, "sh"].into_iter().map(OsStr::new);
    let outcome = stand.gate(&[])?.run(words.chain(odd.map(OsStr::from_bytes)))?;
    let wanted: Vec<String> = odd
        .iter()
        .flat_map(|word| word.iter().chain(&[0]))
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(outcome.stdout == wanted.concat(), "{outcome:?}");
    Ok(())
}

#[test]
fn a_program_is_found_on_the_path_by_a_relative_path_and_in_the_working_folder() -> Result<()> {
    let stand = Stand::new()?;
    std::fs::create_dir(stand.work().join("bin"))?;
    program(&stand.work().join("bin/greet"), "echo \"hello from $(pwd)\"")?;
    let wanted = format!("hello from {}\n", stand.work().display());
    for (path, word) in [("bin:/usr/bin:/bin", "greet"), ("/usr/bin:/bin", "./bin/greet")] {
        let outcome = stand.gate(&[])?.env("PATH", path).run([word])?;
        ensure!(outcome.stdout == wanted, "{word}: {outcome:?}");
    }
    Ok(())
}
