use super::*;

/// Every command that somebody can type, with its path.
fn commands(of: &clap::Command, path: &str, see: &mut impl FnMut(&str, clap::Command)) {
    see(path, of.clone());
    for command in of.get_subcommands() {
        commands(command, &format!("{path} {}", command.get_name()), see);
    }
}

#[test]
fn the_commands_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_help_shows_an_example_of_its_own_command_first() {
    let mut root = Cli::command();
    root.build();
    commands(&root, "tollgate", &mut |path, mut command| {
        for page in [command.render_help().to_string(), command.render_long_help().to_string()] {
            let mut lines = page.lines();
            assert_eq!(lines.next(), Some("Example:"), "{path}");
            let example = lines.next().unwrap().trim();
            assert!(example.starts_with(path), "{path}: {example}");
        }
    });
}

#[test]
fn every_example_is_one_that_parses() {
    let mut root = Cli::command();
    root.build();
    let mut seen = 0;
    commands(&root, "tollgate", &mut |path, mut command| {
        let page = command.render_help().to_string();
        let examples = page.lines().skip(1).take_while(|line| line.starts_with("  "));
        for example in examples {
            let typed = example.split('>').next().unwrap_or_default().replace(['"', '\''], "");
            let parsed = Cli::command().try_get_matches_from(typed.split_whitespace());
            let fine = parsed.is_ok_and(|matches| Cli::from_arg_matches(&matches).is_ok());
            assert!(fine, "{path}: {typed}");
            seen += 1;
        }
    });
    assert!(seen > 20, "{seen}");
}

#[test]
fn every_argument_says_what_it_is() {
    let mut root = Cli::command();
    root.build();
    commands(&root, "tollgate", &mut |path, command| {
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path} {argument}");
        }
    });
}
