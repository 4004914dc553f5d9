//! Scenes for the coordinators.
