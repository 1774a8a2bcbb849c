"""What weights are: measured, judged against a plan or by themselves, and explained."""
