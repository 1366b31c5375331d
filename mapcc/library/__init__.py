"""The mappings that mapcc brings along: which there are, and which model a checkpoint is."""
