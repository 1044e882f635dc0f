"""What all losses have: parameters, domains, sums, and the contract of their maths."""
