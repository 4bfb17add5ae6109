//! Pictures and the page that holds them.
