"""Many runs: methods compared over seeds and numbers of labels, and ablations of one method."""
