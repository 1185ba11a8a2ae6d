"""What is compared with what, stage by stage. A check turns what a layer did into comparisons and judges nothing."""
