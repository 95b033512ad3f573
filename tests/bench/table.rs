//! The figures as a Markdown table.

use std::fmt;

/// Rows of a measure, our figure, the peer's, and how ours relates to it.
pub struct Table(Vec<[String; 4]>);

impl Table {
    /// A table without rows.
    pub fn new() -> Table {
        let header = ["measure", "arkwalletd", "barkd 0.8.0", "ratio"];
        let line = ["---", "---:", "---:", "---:"];
        Table(vec![header.map(str::to_owned), line.map(str::to_owned)])
    }

    /// Adds a measure; the peer may lack it.
    pub fn row(&mut self, name: &str, ours: f64, theirs: Option<f64>) {
        let ratio = theirs
            .filter(|theirs| *theirs > 0.0)
            .map(|theirs| ours / theirs);
        let or_dash = |figure: Option<f64>| figure.map_or("–".to_owned(), shown);
        self.0.push([
            name.to_owned(),
            shown(ours),
            or_dash(theirs),
            or_dash(ratio),
        ]);
    }
}

/// Three digits of which each means something.
fn shown(figure: f64) -> String {
    match figure {
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.2}"),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.0 {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}
