package bundttypes

import "time"

// DescribeBuildCacheInput is the request of DescribeBuildCache.
type DescribeBuildCacheInput struct{}

// DescribeBuildCacheOutput is the response of DescribeBuildCache: what was used last
// comes first.
type DescribeBuildCacheOutput struct {
	Entries []CachedBuild `json:"Entries,omitzero" xml:"entrySet>item"`
}

// CachedBuild is what builds of the account may go on from.
type CachedBuild struct {
	Architecture string     `json:"Architecture" xml:"architecture"`
	BuildId      string     `json:"BuildId" xml:"buildId"`     // that made it
	Component    string     `json:"Component" xml:"component"` // the last that is in it
	CreatedAt    time.Time  `json:"CreatedAt" xml:"createdAt"`
	Depth        int32      `json:"Depth" xml:"depth"` // how many components are in it
	ExpiresAt    *time.Time `json:"ExpiresAt,omitempty" xml:"expiresAt,omitempty"`
	Key          string     `json:"Key" xml:"key"`
	RecipeName   string     `json:"RecipeName" xml:"recipeName"`
	SizeBytes    int64      `json:"SizeBytes" xml:"sizeBytes"` // on disk, beyond what it was built on
	UsedAt       time.Time  `json:"UsedAt" xml:"usedAt"`
}

// ClearBuildCacheInput is the request of ClearBuildCache.
type ClearBuildCacheInput struct {
	DryRun     *bool   `json:"DryRun,omitempty" query:"DryRun"`
	RecipeName *string `json:"RecipeName,omitempty" query:"RecipeName"` // default: what was kept for any
}

// ClearBuildCacheOutput is the response of ClearBuildCache.
type ClearBuildCacheOutput struct {
	Entries   int32 `json:"Entries" xml:"entries"` // that were dropped
	SizeBytes int64 `json:"SizeBytes" xml:"sizeBytes"`
}
