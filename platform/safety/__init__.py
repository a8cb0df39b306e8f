"""Safety: rules, the pipeline that runs them over texts and streams, and what comes of a match."""
