//! The charts of two twins, as text and as a picture: they have what a person needs to follow them, and
//! the picture is well-formed and needs nothing from elsewhere.

use downbeat_models::chart::{Chart, of_twin, svg, text};
use downbeat_models::twins::twins;

fn chart(name: &str) -> Chart {
    let twin = twins().find(|twin| twin.name == name).expect("it is in the list");
    of_twin(twin, twin.falls[0].0).expect("it is refuted")
}

fn demand(words: &str, parts: &[&str]) {
    for part in parts {
        assert!(words.contains(part), "lacks {part:?}:\n{words}");
    }
}

/// Every element of the picture, checked by a reader of XML.
fn elements(picture: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(picture).expect("well-formed XML");
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "svg");
    assert_eq!(root.attribute("width"), Some(svg::WIDTH.to_string().as_str()));
    for element in document.descendants().filter(|node| node.is_element()) {
        for attribute in element.attributes() {
            let local = attribute.value().starts_with("url(#") || !attribute.value().contains("url(");
            assert!(local && attribute.name() != "href", "from elsewhere: {attribute:?}");
        }
    }
    document.descendants().filter_map(|node| node.text()).map(str::to_string).collect()
}

#[test]
fn a_hold_over_a_grant_can_be_followed() {
    let chart = chart("hold-over-grant");
    let words = text::text(&chart);
    demand(
        &words,
        &[
            "agent 0, strict",
            "agent 1, strict",
            "server",
            // Arrows both ways, with the numbers that matter and both ends' clocks.
            "─ Read ─",
            "►│105",
            "◄",
            "Advance token 2, T 112",
            // What happened to whom.
            "◆ the farm is held until 113",
            "cut off from the server ✗ 2005",
            "plan: 2 until 1012",
            "active 1 1004 │",
            "S4 activation_arithmetic is broken",
            "the highest promise that was given out is 113",
        ],
    );
    assert!(words.lines().all(|line| line.chars().count() <= text::WIDTH), "wider than a terminal:\n{words}");
    let told = elements(&svg::svg(&chart)).join("\n");
    demand(
        &told,
        &[
            "Advance token 2, T 112",
            "the farm is held until 113",
            "1005",
            "2005",
            "S4 activation_arithmetic is broken",
        ],
    );
}

#[test]
fn an_answer_paired_with_the_wrong_sending_shows_its_stamps() {
    let chart = chart("last-send");
    let words = text::text(&chart);
    demand(&words, &["Lock (sent at 12)", "a 1012, r 113, s 113", "fenced", "S12 clock_enclosure is broken"]);
    demand(&words, &["The two ends of an agent's enclosure crossed"]);
    assert!(words.lines().all(|line| line.chars().count() <= text::WIDTH), "wider than a terminal:\n{words}");
    let picture = svg::svg(&chart);
    demand(
        &elements(&picture).join("\n"),
        &["a 1012, r 113, s 113", "fenced", "S12 clock_enclosure is broken"],
    );
    // Bars for what readers got, and lines that lean where a message took time.
    demand(&picture, &["class=\"g1\"", "class=\"g2\"", "class=\"fenced\"", "rotate("]);
}

#[test]
fn a_picture_with_a_fault_in_it_would_be_noticed() {
    let picture = svg::svg(&chart("last-send"));
    assert!(roxmltree::Document::parse(&picture.replacen("</text>", "", 1)).is_err());
    assert!(roxmltree::Document::parse(&picture.replacen("r=\"", "r=", 1)).is_err());
}
