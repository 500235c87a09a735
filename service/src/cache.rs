//! Where the user's cache is, which every data folder and every program of ours on this machine shares.

use std::ffi::OsString;
use std::path::PathBuf;

/// Names the folder of models, before all else.
pub const MODELS_VARIABLE: &str = "ATOLL_MODELS";

/// The folder of installed models: `$ATOLL_MODELS`, else `$XDG_CACHE_HOME/atoll/models`, else `~/.cache/atoll/models`;
/// `None` if no variable says where. `variable` reads one variable of the environment. As the XDG base directory
/// specification asks, a cache folder that is not absolute counts as not set.
#[must_use]
pub fn models_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = || set("XDG_CACHE_HOME").filter(|cache| cache.is_absolute());
    let home = || set("HOME").map(|home| home.join(".cache"));
    set(MODELS_VARIABLE).or_else(|| {
        cache()
            .or_else(home)
            .map(|cache| cache.join("atoll").join("models"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(variables: &[(&str, &str)]) -> Option<PathBuf> {
        models_folder(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_variable_comes_first_then_the_cache_then_home() {
        let home = ("HOME", "/home/ada");
        assert_eq!(folder(&[]), None);
        assert_eq!(folder(&[home]), Some("/home/ada/.cache/atoll/models".into()));
        for not_a_cache in ["", "relative"] {
            let variables = [home, ("XDG_CACHE_HOME", not_a_cache)];
            assert_eq!(folder(&variables), folder(&[home]));
        }
        let cache = ("XDG_CACHE_HOME", "/cache");
        assert_eq!(folder(&[home, cache]), Some("/cache/atoll/models".into()));
        assert_eq!(
            folder(&[home, cache, ("ATOLL_MODELS", "here")]),
            Some("here".into())
        );
    }
}
