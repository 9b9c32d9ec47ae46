//! Runs the production `tick` in a made-up world with made-up time.
