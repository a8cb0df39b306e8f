"""Safety: the data that rules and verdicts are. The pipeline that runs them is not here yet."""
