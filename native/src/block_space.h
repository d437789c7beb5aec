/* block_space.h - freeing what layers leave in the engine for each other. */
#ifndef BC_BLOCK_SPACE_H
#define BC_BLOCK_SPACE_H

void bc_block_back_free(struct bc_block_back *back);      /* block_back_space.c */
void bc_block_space_free(struct bc_block_space *windows); /* block_windows.c */

#endif
