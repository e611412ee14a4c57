"""Where entries are kept: one file for the contract, one for each keeper."""
