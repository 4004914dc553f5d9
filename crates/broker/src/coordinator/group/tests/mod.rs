//! Scenes with groups: their offsets, and their members.

mod members;
mod offsets;
