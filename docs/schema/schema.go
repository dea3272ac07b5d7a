// Package schema embeds the JSON Schemas of bundt's file formats, which editors
// read from this directory.
package schema

import _ "embed"

// RecipeV1 is the JSON Schema of recipe.yaml.
//
//go:embed recipe.v1.json
var RecipeV1 []byte
