//! Self-contained HTML pages: styles, plots and images are embedded.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::summary::Row;

/// A page under construction.
/// All text is escaped; only SVG from [`super::plots`] is embedded unchanged.
#[derive(Debug)]
pub(super) struct Page {
    body: String,
    title: String,
    figures: usize,
}

/// A table with one column per sample, in sections with optional titles.
pub(super) struct Table<'a> {
    pub(super) caption: &'a str,
    pub(super) names: &'a [&'a str],
    pub(super) sections: &'a [(&'a str, Vec<Row>)],
}

impl Page {
    pub(super) fn new(title: &str) -> Self {
        Self {
            body: String::new(),
            title: escape(title),
            figures: 0,
        }
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.push(&format!("<h2>{}</h2>\n", escape(text)));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.push(&format!("<p>{}</p>\n", escape(text)));
    }

    /// Adds a plot, with a name for screen readers and a numbered caption.
    pub(super) fn figure(&mut self, svg: &str, name: &str, caption: &str) {
        let caption = self.figure_caption(caption);
        let svg = inline(svg, name);
        // A focus stop, so that a keyboard can scroll what is wider than the screen.
        self.push(&format!(
            "<figure>\n<div class=\"plot\" tabindex=\"0\">{svg}</div>\n{caption}</figure>\n"
        ));
    }

    /// Adds an image with a numbered caption.
    pub(super) fn picture(&mut self, png: &[u8], name: &str, caption: &str) {
        let caption = self.figure_caption(caption);
        let (name, data) = (escape(name), STANDARD.encode(png));
        self.push(&format!(
            "<figure class=\"picture\">\n<img alt=\"{name}\" src=\"data:image/png;base64,{data}\">\n{caption}</figure>\n"
        ));
    }

    /// Adds named grids of maps with a common colour bar.
    pub(super) fn map_figure(&mut self, grids: &[(String, Vec<u8>)], bar: &str, caption: &str) {
        let mut inner = String::new();
        for (name, png) in grids {
            let name = escape(name);
            let data = STANDARD.encode(png);
            inner += &format!(
                "<div class=\"grid\"><div class=\"name\">{name}</div>\n\
                 <img alt=\"{name} maps\" src=\"data:image/png;base64,{data}\"></div>\n"
            );
        }
        let bar = inline(bar, "Colour scale of κ");
        let caption = self.figure_caption(caption);
        self.push(&format!(
            "<figure class=\"maps\">\n{inner}<div class=\"bar\">{bar}</div>{caption}</figure>\n"
        ));
    }

    pub(super) fn table(&mut self, table: &Table<'_>) {
        let rows = || table.sections.iter().flat_map(|(_, rows)| rows);
        let has_units = rows().any(|row| !row.unit.is_empty());
        let mut html = format!(
            "<div class=\"scroll\" tabindex=\"0\">\n<table>\n<caption>{}</caption>\n<thead><tr><td></td>",
            escape(table.caption)
        );
        if has_units {
            html += "<th scope=\"col\" class=\"unit\">unit</th>";
        }
        for name in table.names {
            html += &format!("<th scope=\"col\">{}</th>", escape(name));
        }
        html += "</tr></thead>\n";
        for (title, rows) in table.sections {
            html += "<tbody>\n";
            if !title.is_empty() {
                let columns = table.names.len() + 1 + usize::from(has_units);
                let title = escape(title);
                html += &format!(
                    "<tr class=\"title\"><th scope=\"rowgroup\" colspan=\"{columns}\">{title}</th></tr>\n"
                );
            }
            for row in rows {
                let quantity = escape(&row.quantity);
                html += &format!("<tr><th scope=\"row\">{quantity}</th>");
                if has_units {
                    html += &format!("<td class=\"unit\">{}</td>", escape(row.unit));
                }
                for value in &row.values {
                    html += &format!("<td>{}</td>", escape(value));
                }
                html += "</tr>\n";
            }
            html += "</tbody>\n";
        }
        html += "</table>\n</div>\n";
        self.push(&html);
    }

    /// Adds a list of labels and values.
    pub(super) fn pairs(&mut self, pairs: &[(String, String)]) {
        self.push("<dl>\n");
        for (what, which) in pairs {
            self.push(&format!(
                "<dt>{}</dt><dd>{}</dd>\n",
                escape(what),
                escape(which)
            ));
        }
        self.push("</dl>\n");
    }

    pub(super) fn finish(self) -> String {
        let Self { body, title, .. } = self;
        let style = include_str!("page.css");
        let mut html = String::with_capacity(body.len() + style.len() + 512);
        let _ = write!(
            html,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n\
             </body>\n</html>\n"
        );
        html
    }

    fn figure_caption(&mut self, caption: &str) -> String {
        self.figures += 1;
        format!(
            "<figcaption><b>Figure {}.</b> {}</figcaption>\n",
            self.figures,
            escape(caption)
        )
    }

    fn push(&mut self, html: &str) {
        self.body.push_str(html);
    }
}

/// An SVG element for HTML, with a name for screen readers.
///
/// It has no XML namespace, so that the page contains no URL, which shows that it loads nothing.
fn inline(svg: &str, name: &str) -> String {
    let label = format!(" role=\"img\" aria-label=\"{}\"", escape(name));
    svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", &label, 1)
}

/// Escapes `text` for HTML elements and quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_text_stays_text() {
        let mut page = Page::new("<script>alert('x')</script>");
        page.pairs(&[("a\"b".to_owned(), "c & d".to_owned())]);
        let html = page.finish();
        assert!(!html.contains("<script>"));
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
        assert!(html.contains("<dt>a&quot;b</dt><dd>c &amp; d</dd>"));
    }
}
