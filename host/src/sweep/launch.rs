//! Scripts that start workers on what people already run. A worker is a process, so that any launcher will do: a new one is a template
//! in `launch/` and a variant of [`Launcher`].
//!
//! | in a template | stands for |
//! |---|---|
//! | `@RUN@` | the command of a worker, as words of a shell |
//! | `@WORDS@` | the same as a list in JSON, which YAML knows too |
//! | `@WORKERS@`, `@THREADS@` | how many workers, and CPU threads of each |
//! | `@NAME@`, `@DNS@` | the study's name, as a word of a shell and as a label of DNS |

use crate::view;
use anyhow::{Context, Result};
use std::path::Path;

/// What starts processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// Slurm: an array of jobs.
    Slurm,
    /// HyperQueue: an array of tasks.
    Hyperqueue,
    /// Kubernetes: a job with several pods.
    Kubernetes,
    /// This machine: GNU parallel, or xargs.
    Parallel,
}

/// What a script starts.
#[derive(Clone, Copy, Debug)]
pub struct Workers<'a> {
    /// The study's name.
    pub name: &'a str,
    /// The study file.
    pub study: &'a Path,
    /// The study's folder.
    pub out: &'a Path,
    /// The dataset's folder, where it is not the recipe's.
    pub data: Option<&'a Path>,
    /// Number of workers.
    pub count: u32,
    /// CPU threads of each.
    pub threads: u32,
}

impl Launcher {
    fn template(self) -> &'static str {
        match self {
            Self::Slurm => include_str!("launch/slurm.sh"),
            Self::Hyperqueue => include_str!("launch/hyperqueue.sh"),
            Self::Kubernetes => include_str!("launch/kubernetes.yaml"),
            Self::Parallel => include_str!("launch/parallel.sh"),
        }
    }

    /// Whether its workers wait for the last trials of others: on a cluster, waiting costs.
    fn waits(self) -> bool {
        self == Self::Parallel
    }

    /// The script.
    ///
    /// # Errors
    /// A path is not UTF-8, and a script is a text.
    pub fn script(self, workers: &Workers) -> Result<String> {
        let words = self.words(workers)?;
        let shell: Vec<String> = words.iter().map(|word| view::quoted(word)).collect();
        let dns: String =
            workers.name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        // A label has 63 characters, of which Kubernetes needs some for the pods.
        let dns: String = dns.trim_matches('-').chars().take(40).collect();
        let values = [
            ("@RUN@", shell.join(" ")),
            ("@WORDS@", serde_json::to_string(&words)?),
            ("@WORKERS@", workers.count.to_string()),
            ("@THREADS@", workers.threads.to_string()),
            ("@DNS@", if dns.is_empty() { "study".to_owned() } else { dns.trim_matches('-').to_owned() }),
            ("@NAME@", view::quoted(workers.name)),
        ];
        Ok(values.iter().fold(self.template().to_owned(), |text, (mark, value)| text.replace(mark, value)))
    }

    /// The command of a worker.
    fn words(self, workers: &Workers) -> Result<Vec<String>> {
        let text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.with_context(|| {
                format!("the name {} is not UTF-8, and a script is a text: rename it", view::name(path))
            })
        };
        let mut words = ["ocellus", "sweep", "run"].map(str::to_owned).to_vec();
        words.extend([text(workers.study)?, "--out".to_owned(), text(workers.out)?]);
        if let Some(data) = workers.data {
            words.extend(["--data".to_owned(), text(data)?]);
        }
        words.extend(["--threads".to_owned(), workers.threads.to_string()]);
        if !self.waits() {
            words.push("--no-wait".to_owned());
        }
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mark_is_left_and_paths_stay_whole() {
        let workers = Workers {
            name: "My study_2",
            study: Path::new("my studies/it's.toml"),
            out: Path::new("/data/out"),
            data: Some(Path::new("photos")),
            count: 7,
            threads: 3,
        };
        for launcher in [Launcher::Slurm, Launcher::Hyperqueue, Launcher::Kubernetes, Launcher::Parallel] {
            let script = launcher.script(&workers).unwrap();
            assert!(!script.contains('@') || script.contains("TERM@120"), "{script}");
            let command = match launcher {
                Launcher::Kubernetes => {
                    "[\"ocellus\",\"sweep\",\"run\",\"my studies/it's.toml\",\"--out\",\"/data/out\""
                }
                _ => "ocellus sweep run 'my studies/it'\\''s.toml' --out /data/out --data photos --threads 3",
            };
            assert!(script.contains(command), "{script}");
            assert_eq!(script.contains("--no-wait"), launcher != Launcher::Parallel);
            assert!(script.contains('7') && !script.contains("@WORKERS@"), "{script}");
        }
        assert!(Launcher::Kubernetes.script(&workers).unwrap().contains("name: my-study-2\n"));
    }
}
