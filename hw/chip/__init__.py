"""A chip: what there is, how many, who shares what; and which crossbars hold which layer."""
