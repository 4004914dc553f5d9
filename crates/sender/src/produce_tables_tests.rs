//! The tables of produce answers, printed into the documentation and compared with it.

use super::{Situation, produce_action, proof_of};
use crate::error_tables::{self, print};

/// S-63 … S-69, R1: every code that Kafka has, and one that it does not have, in every situation.
#[test]
fn every_code_has_its_row_in_the_tables_of_produce_answers() {
    let mut out = String::new();
    print(&mut out, "What an answer proves about its attempt", proof_of);
    for (situation, title) in [
        (Situation::Retriable, "A batch that may be sent again"),
        (Situation::Splittable, "A batch that may be sent in parts"),
        (Situation::LastAttempt, "A batch that may not be sent again"),
        (Situation::OutcomeGiven, "A batch whose records were told before"),
    ] {
        print(&mut out, title, |code| produce_action(code, situation));
    }
    error_tables::compare("produce", &out);
}
