//! Tables for what we thought of, every small world for what we did not.
