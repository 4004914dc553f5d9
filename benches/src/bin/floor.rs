//! The hand-written loop as a program, with the options of `kommit perf`.

use kommit_benches::floor;
use kommit_benches::measurement::Options;

fn main() {
    floor::run(&Options::of_this_program());
}
