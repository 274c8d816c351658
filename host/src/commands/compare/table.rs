//! The comparison as text, as CSV, and as JSON.

use anyhow::{Context, Result};
use serde::Serialize;

use super::cost::Cost;
use crate::eval::Metrics;
use crate::report::{self, cell};

/// Most frequent mistakes that are shown of each model.
const MISTAKES: usize = 3;

/// One model and its figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// As the user named it.
    pub model: String,
    /// The dataset's name.
    pub data: String,
    /// Before quantization, where the model has such a file.
    pub float: Option<Metrics>,
    /// By the engine, where the model was exported.
    pub int8: Option<Metrics>,
    /// Size and cost.
    #[serde(flatten)]
    pub cost: Cost,
}

impl Entry {
    /// The figures that count: those of what the board computes, else those before quantization.
    pub fn metrics(&self) -> &Metrics {
        self.int8.as_ref().or(self.float.as_ref()).expect("a model is evaluated one way at least")
    }

    fn row(&self) -> Vec<String> {
        let percent = |metrics: &Option<Metrics>| metrics.as_ref().map_or("-".into(), |m| report::percent(m.accuracy));
        let figure = |figure: Option<u64>| figure.map_or("-".into(), report::thousands);
        let (metrics, cost) = (self.metrics(), &self.cost);
        let worst = metrics.worst_class();
        vec![
            self.model.clone(),
            percent(&self.float),
            percent(&self.int8),
            report::percent(metrics.macro_f1()),
            worst.map_or("-".into(), |class| format!("{} ({})", report::percent(class.f1), class.label)),
            figure(cost.parameters),
            figure(cost.macs),
            figure(cost.plan_bytes),
            figure(cost.program_bytes),
            figure(cost.arena_bytes),
            figure(cost.instructions),
        ]
    }

    fn mistakes(&self) -> String {
        let mistakes = self.metrics().confusions(MISTAKES);
        let text = |(label, taken, images): &(&str, &str, usize)| format!("{label} for {taken} ({images})");
        let list = mistakes.iter().map(text).collect::<Vec<_>>().join(", ");
        format!("{}: {}", self.model, if list.is_empty() { "none" } else { &list })
    }
}

/// The table for people, and each model's most frequent mistakes. `cpu` is whose instructions are in it.
pub fn text(entries: &[Entry], cpu: &str) -> String {
    let instructions = format!("instr. {cpu}");
    let header = [
        "model",
        "float",
        "int8",
        "macro F1",
        "least F1",
        "params",
        "MACs",
        "plan B",
        "program B",
        "RAM B",
        &instructions,
    ];
    let rows: Vec<Vec<String>> = entries.iter().map(Entry::row).collect();
    let mistakes = entries.iter().map(Entry::mistakes).collect::<Vec<_>>().join("\n");
    let images = entries[0].metrics().images;
    format!("{}\n\ntaken most often, of {images} images:\n{mistakes}", report::table(&header, &rows))
}

/// One line per model; unknown figures are empty. Behind the others stands the F1 of each class.
///
/// # Errors
/// None that is to be expected: it is written to memory.
pub fn csv(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let classes: Vec<&str> = entries[0].metrics().per_class.iter().map(|class| class.label.as_str()).collect();
    let head = "model,data,images,float_accuracy,int8_accuracy,macro_f1,least_f1,least_f1_class,confused_class,\
                confused_with,confused_images,parameters,macs,plan_bytes,program_bytes,arena_bytes,instructions";
    writer.write_record(head.split(',').map(str::to_owned).chain(classes.iter().map(|name| format!("f1 {name}"))))?;
    for entry in entries {
        writer.write_record(csv_row(entry, &classes))?;
    }
    writer.into_inner().context("cannot finish the CSV")
}

fn csv_row(entry: &Entry, classes: &[&str]) -> Vec<String> {
    let (metrics, cost) = (entry.metrics(), &entry.cost);
    let accuracy = |of: &Option<Metrics>| of.as_ref().map(|m| m.accuracy.to_string()).unwrap_or_default();
    let figure = |figure: Option<u64>| figure.map(|x| x.to_string()).unwrap_or_default();
    let (worst, mistake) = (metrics.worst_class(), metrics.confusions(1).first().copied());
    let f1 = |name: &&str| {
        let class = metrics.per_class.iter().find(|class| class.label == **name);
        class.map(|class| class.f1.to_string()).unwrap_or_default()
    };
    let mut row = vec![
        cell(&entry.model),
        cell(&entry.data),
        metrics.images.to_string(),
        accuracy(&entry.float),
        accuracy(&entry.int8),
        metrics.macro_f1().to_string(),
        worst.map(|class| class.f1.to_string()).unwrap_or_default(),
        worst.map(|class| cell(&class.label)).unwrap_or_default(),
        mistake.map(|(class, ..)| cell(class)).unwrap_or_default(),
        mistake.map(|(_, with, _)| cell(with)).unwrap_or_default(),
        mistake.map(|(.., images)| images.to_string()).unwrap_or_default(),
        figure(cost.parameters),
        figure(cost.macs),
    ];
    row.extend([cost.plan_bytes, cost.program_bytes, cost.arena_bytes, cost.instructions].map(figure));
    row.extend(classes.iter().map(f1));
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(classes: [&str; 2], scores: &[i8]) -> Metrics {
        Metrics::new(&classes.map(str::to_owned), &[0, 0, 0, 1], scores)
    }

    /// Of three first-class images one is wrong.
    const SCORES: [i8; 8] = [1, 0, 1, 0, 0, 1, 0, 1];

    fn entries() -> [Entry; 2] {
        let exported = Entry {
            model: "runs/a".into(),
            data: "photos".into(),
            float: Some(metrics(["cat", "dog, brown"], &[1, 0, 1, 0, 1, 0, 0, 1])),
            int8: Some(metrics(["cat", "dog, brown"], &SCORES)),
            cost: Cost {
                parameters: Some(1000),
                macs: Some(2000),
                plan_bytes: Some(1234),
                arena_bytes: Some(99),
                ..Cost::default()
            },
        };
        // The other one lists its classes the other way round.
        let float = metrics(["dog, brown", "cat"], &[1, 0, 1, 0, 1, 0, 0, 1]);
        let trained = Entry { model: "runs/b".into(), float: Some(float), int8: None, ..exported.clone() };
        [exported, Entry { cost: Cost { parameters: Some(10), macs: Some(20), ..Cost::default() }, ..trained }]
    }

    #[test]
    fn the_text_says_what_is_known() {
        let text = text(&entries(), "cortex-m7");
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("  ").filter(|s| !s.is_empty()).collect()).collect();
        let cells = |line: usize| lines[line].iter().map(|cell| cell.trim()).collect::<Vec<_>>();
        assert_eq!(cells(0)[10], "instr. cortex-m7");
        let f1 = ["73.33 %", "66.67 % (dog, brown)", "1 000", "2 000", "1 234", "-", "99", "-"];
        assert_eq!(cells(1), [&["runs/a", "100.00 %", "75.00 %"], &f1[..]].concat());
        assert_eq!(cells(2)[..4], ["runs/b", "100.00 %", "-", "100.00 %"]);
        assert!(text.ends_with("of 4 images:\nruns/a: cat for dog, brown (1)\nruns/b: none"), "{text}");
    }

    #[test]
    fn the_csv_has_every_class_in_its_own_column() {
        let bytes = csv(&entries()).unwrap();
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let header = reader.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let cell = |row: usize, name: &str| rows[row][header.iter().position(|h| h == name).unwrap()].to_owned();
        assert_eq!(cell(0, "int8_accuracy"), "0.75");
        assert_eq!((cell(0, "confused_with"), cell(0, "confused_images")), ("dog, brown".into(), "1".into()));
        assert_eq!((cell(0, "plan_bytes"), cell(0, "instructions")), ("1234".into(), String::new()));
        assert_eq!((cell(0, "f1 cat"), cell(0, "f1 dog, brown")), ("0.8".into(), (2.0f64 / 3.0).to_string()));
        assert_eq!((cell(1, "int8_accuracy"), cell(1, "f1 cat")), (String::new(), "1".into()));
    }
}
