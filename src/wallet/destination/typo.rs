//! Why a text is not the address or invoice that it looks like: which character of it is wrong.
//!
//! The checksum of bech32 finds the place of one wrong character. What should stand there is not told: whoever copied an address wrongly
//! has to look at the original, because a text with two mistakes can be one character away from the address of somebody else.

use bitcoin::bech32::primitives::checksum::{Checksum, Engine, PackedFe32};
use bitcoin::bech32::{Bech32, Bech32m, Fe32, Hrp};

/// The characters of the longest text whose checksum tells one place from another.
const LONGEST: usize = 1_023;

/// What a text looks like.
struct Kind {
    name: &'static str,
    /// What it begins with, in lower case.
    prefixes: &'static [&'static str],
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "Ark address",
        prefixes: &["ark1", "tark1"],
    },
    Kind {
        name: "bitcoin address",
        prefixes: &["bc1", "tb1", "bcrt1"],
    },
    Kind {
        name: "LNURL",
        prefixes: &["lnurl1"],
    },
    Kind {
        name: "Lightning invoice",
        prefixes: &["lnbc", "lntb", "lnbcrt"],
    },
];

/// What is wrong with a text that cannot be read, and what to do about it; `None` if that cannot be told.
pub(super) fn explain(text: &str) -> Option<String> {
    if let Some(blank) = find(text, char::is_whitespace) {
        let (position, c) = blank;
        let what = if c == '\n' || c == '\r' {
            "line break"
        } else {
            "space"
        };
        return Some(format!("character {position} is a {what}; remove it"));
    }
    let lower = text.to_lowercase();
    let is_meant = |kind: &&Kind| kind.prefixes.iter().any(|prefix| lower.starts_with(prefix));
    let kind = KINDS.iter().find(is_meant)?;
    let name = kind.name;
    if lower != text && text.to_uppercase() != text {
        return Some(format!(
            "this {name} mixes upper and lower case; write all of it in lower case"
        ));
    }
    let (prefix, data) = lower.rsplit_once('1')?;
    let first = prefix.chars().count() + 2;
    if let Some((position, c)) = find(data, |c| Fe32::from_char(c).is_err()) {
        let position = first + position - 1;
        return Some(format!(
            "this {name} is mistyped: character {position}, {c:?}, never occurs in one; compare it with the original"
        ));
    }
    let wrong = if kind.name == "Ark address"
        || (kind.name == "bitcoin address" && !data.starts_with('q'))
    {
        wrong_place::<Bech32m>(prefix, data)
    } else {
        wrong_place::<Bech32>(prefix, data)
    };
    Some(match wrong? {
        Some(place) => format!(
            "this {name} is mistyped: character {} is wrong; compare it with the original",
            first + place
        ),
        None => format!("this {name} is incomplete or mistyped; copy it again"),
    })
}

/// The first character of this sort, and its position, counted from 1.
fn find(text: &str, is_wanted: impl Fn(char) -> bool) -> Option<(usize, char)> {
    let mut characters = (1..).zip(text.chars());
    characters.find(|(_, c)| is_wanted(*c))
}

/// Which character of `data` alone makes the checksum wrong, counted from 0; `Some(None)` if more than one is wrong, and `None` if the
/// checksum is right or cannot tell.
fn wrong_place<C: Checksum<MidstateRepr = u32>>(prefix: &str, data: &str) -> Option<Option<usize>> {
    if prefix.len() + data.len() > LONGEST {
        return None;
    }
    let mut engine = Engine::<C>::new();
    engine.input_hrp(Hrp::parse(prefix).ok()?);
    for c in data.chars() {
        engine.input_fe(Fe32::from_char(c).ok()?);
    }
    let error = engine.residue() ^ C::TARGET_RESIDUE;
    if error == 0 {
        return None;
    }
    // What a wrong character adds to the checksum, for each of the values that it may be off by: first for the last character, then
    // for the one before it, and so on.
    let mut added: Vec<u32> = (1..32).collect();
    for place in (0..data.len()).rev() {
        if added.contains(&error) {
            return Some(Some(place));
        }
        for residue in &mut added {
            *residue = shifted::<C>(*residue);
        }
    }
    Some(None)
}

/// What a residue becomes when one more character follows that adds nothing.
fn shifted<C: Checksum<MidstateRepr = u32>>(mut residue: u32) -> u32 {
    let highest = residue.mul_by_x_then_add(C::CHECKSUM_LENGTH, 0);
    for (bit, generator) in C::GENERATOR_SH.iter().enumerate() {
        if highest >> bit & 1 == 1 {
            residue ^= generator;
        }
    }
    residue
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARK: &str = "tark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umc3l04v4";
    const TAPROOT: &str = "bcrt1p8wpt9v4frpf3tkn0srd97pksgsxc5hs52lafxwru9kgeephvs7rqjeprhg";
    const SEGWIT: &str = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
    const BOLT11: &str = "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql";

    /// Every character behind the prefix, wrong in every way, is found.
    #[test]
    fn the_place_of_one_wrong_character_is_found() {
        for text in [ARK, TAPROOT, SEGWIT, BOLT11] {
            assert_eq!(explain(text), None, "{text} is right");
            let start = text.rfind('1').unwrap() + 1;
            // The version of a bitcoin address decides which checksum counts.
            let start = if text == TAPROOT || text == SEGWIT {
                start + 1
            } else {
                start
            };
            for place in start..text.len() {
                for c in "qpzry9x8gf2tvdw0s3jn54khce6mua7l".chars() {
                    if text[place..].starts_with(c) {
                        continue;
                    }
                    let wrong = format!("{}{c}{}", &text[..place], &text[place + 1..]);
                    let explained = explain(&wrong).unwrap();
                    let expected = format!("character {} is wrong", place + 1);
                    assert!(explained.contains(&expected), "{explained}: {wrong}");
                }
            }
        }
    }

    #[test]
    fn other_mistakes_are_named() {
        let mixed = ARK.replacen('p', "P", 1);
        let swapped = ARK.replacen("td4e9v", "9vtd4e", 1);
        for (text, part) in [
            (format!(" {ARK}"), "character 1 is a space"),
            (format!("{ARK}\r\n"), "character 132 is a line break"),
            (mixed, "upper and lower case"),
            (ARK.replacen("td4", "tb4", 1), "character 8, 'b'"),
            (ARK[..ARK.len() - 3].to_owned(), "Ark address is incomplete"),
            (swapped, "Ark address is incomplete or mistyped"),
            (ARK.replacen("td4e", "é", 1), "character 7, 'é'"),
        ] {
            let explained = explain(&text).unwrap_or_default();
            assert!(explained.contains(part), "{text}: {explained}");
        }
        for text in [
            "",
            "hello",
            "tark",
            "tark1",
            "lnbc",
            "1",
            "alice@example.com",
        ] {
            let explained = explain(text);
            assert!(
                explained.is_none() || text == "tark1",
                "{text}: {explained:?}"
            );
        }
        assert_eq!(explain(&format!("tark1{}", "q".repeat(2_000))), None);
    }
}
