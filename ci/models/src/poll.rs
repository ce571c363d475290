//! Of the netpoller only the word is modelled.

pub(crate) mod word {
    include!(concat!(env!("OUT_DIR"), "/poll_word.rs"));
}
