use super::*;

#[test]
fn a_long_file_a_mod_file_and_an_ownerless_mark_are_named() {
    assert_eq!(source("a.rs", &"x\n".repeat(500)).len(), 0);
    assert_eq!(source("a.rs", &"x\n".repeat(501)).len(), 1);
    assert_eq!(source("a/mod.rs", "").len(), 1);
    let mark = ["TO", "DO"].concat();
    assert_eq!(source("a.rs", &format!("// {mark}: later")).len(), 1);
    assert_eq!(source("a.rs", &format!("// {mark}(ada): later")).len(), 0);
}

#[test]
fn the_core_may_not_reach_a_runtime() {
    assert!(impure("tollgate-decide v0.1.0 (/x)\nserde v1.0.0").is_empty());
    assert_eq!(impure("tollgate-decide v0.1.0 (/x)\ntokio v1.54.1 (*)").len(), 1);
}

#[test]
fn dependencies_point_one_way() {
    let with = |kind: &str| {
        let to = format!(r#"{{"name":"tollgate","kind":{kind},"path":"/x"}}"#);
        format!(r#"{{"packages":[{{"name":"tollgate-decide","dependencies":[{to}]}}]}}"#)
    };
    assert_eq!(edges(&with("null")).unwrap(), ["tollgate-decide may not depend on tollgate"]);
    assert!(edges(&with("\"dev\"")).unwrap().is_empty());
    assert_eq!(edges(r#"{"packages":[{"name":"new","dependencies":[]}]}"#).unwrap().len(), 1);
}
